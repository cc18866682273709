import type { Labels } from '../vocabulary.js';
import type { ServiceContract, Unary } from './service.js';
import type { Empty, Timestamp } from './values.js';

/** `containerd.services.leases.v1`, as far as this project calls it. */
export interface LeaseMessage {
  readonly id: string;
  readonly createdAt: Timestamp | null;
  readonly labels: Labels;
}

export interface CreateLeaseRequest {
  readonly id: string;
  readonly labels: Labels;
}

export interface CreateLeaseResponse {
  readonly lease: LeaseMessage | null;
}

export interface DeleteLeaseRequest {
  readonly id: string;
  /** Wait until what it held is collected. */
  readonly sync: boolean;
}

export interface ListLeasesRequest {
  readonly filters: readonly string[];
}

export interface ListLeasesResponse {
  readonly leases: readonly LeaseMessage[];
}

export interface AddLeaseResourceRequest {
  readonly id: string;
  /** `type` is `content` for a blob, whose `id` is its digest, and `snapshots/<snapshotter>` for a snapshot's key or name. */
  readonly resource: { readonly id: string; readonly type: string };
}

export interface LeasesMethods {
  readonly Create: Unary<CreateLeaseRequest, CreateLeaseResponse>;
  readonly Delete: Unary<DeleteLeaseRequest, Empty>;
  readonly List: Unary<ListLeasesRequest, ListLeasesResponse>;
  readonly AddResource: Unary<AddLeaseResourceRequest, Empty>;
}

export const leasesService: ServiceContract<LeasesMethods> = {
  name: 'containerd.services.leases.v1.Leases',
  file: 'containerd/services/leases/v1/leases.proto',
};
