import type { Labels, Mount } from '../vocabulary.js';
import type { ServiceContract, Unary } from './service.js';
import type { Any, Timestamp, WireDescriptor } from './values.js';

/** `containerd.services.diff.v1`: the messages as they arrive, every field present; a message not sent is null. */
export interface ApplyRequest {
  readonly diff: WireDescriptor | null;
  readonly mounts: readonly Mount[];
  /** Settings for processors of encrypted layers and the like, by media type. */
  readonly payloads: Readonly<Record<string, Any>>;
  readonly syncFs: boolean;
}

export interface ApplyResponse {
  readonly applied: WireDescriptor | null;
}

export interface DiffRequest {
  readonly left: readonly Mount[];
  readonly right: readonly Mount[];
  readonly mediaType: string;
  readonly ref: string;
  readonly labels: Labels;
  readonly sourceDateEpoch: Timestamp | null;
}

export interface DiffResponse {
  readonly diff: WireDescriptor | null;
}

export interface DiffMethods {
  readonly Apply: Unary<ApplyRequest, ApplyResponse>;
  readonly Diff: Unary<DiffRequest, DiffResponse>;
}

export const diffService: ServiceContract<DiffMethods> = {
  name: 'containerd.services.diff.v1.Diff',
  file: 'containerd/services/diff/v1/diff.proto',
};
