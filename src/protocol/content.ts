import type { Labels } from '../vocabulary.js';
import type { Exchange, ServerStream, ServiceContract, Unary } from './service.js';
import type { Empty, Int64, Timestamp } from './values.js';

/** `containerd.services.content.v1`, as far as this project calls it. */
export interface ContentInfoMessage {
  readonly digest: string;
  /** Bytes. */
  readonly size: Int64;
  readonly createdAt: Timestamp | null;
  readonly updatedAt: Timestamp | null;
  readonly labels: Labels;
}

export interface ContentInfoRequest {
  readonly digest: string;
}

export interface ContentInfoResponse {
  readonly info: ContentInfoMessage | null;
}

export interface ReadContentRequest {
  readonly digest: string;
  readonly offset: Int64;
  /** 0: up to the end. */
  readonly size: Int64;
}

export interface ReadContentResponse {
  /** Where in the blob `data` begins. */
  readonly offset: Int64;
  readonly data: Uint8Array;
}

export interface UpdateContentRequest {
  readonly info: ContentInfoMessage;
  /** `labels.<key>` for each label that changes. */
  readonly updateMask: { readonly paths: readonly string[] };
}

export interface WriteContentRequest {
  /** STAT opens the upload and tells what is there of it; COMMIT ends it. */
  readonly action: 'STAT' | 'WRITE' | 'COMMIT';
  /** Name of the upload. */
  readonly ref: string;
  readonly total: Int64;
  /** Digest of the whole; empty when it is not known yet. */
  readonly expected: string;
  readonly offset: Int64;
  readonly data: Uint8Array;
  readonly labels: Labels;
}

export interface WriteContentResponse {
  readonly action: 'STAT' | 'WRITE' | 'COMMIT';
  readonly startedAt: Timestamp | null;
  readonly updatedAt: Timestamp | null;
  readonly offset: Int64;
  readonly total: Int64;
  readonly digest: string;
}

export interface AbortContentRequest {
  readonly ref: string;
}

export interface ListContentRequest {
  readonly filters: readonly string[];
}

export interface ListContentResponse {
  readonly info: readonly ContentInfoMessage[];
}

export interface ContentMethods {
  readonly Info: Unary<ContentInfoRequest, ContentInfoResponse>;
  readonly Update: Unary<UpdateContentRequest, ContentInfoResponse>;
  readonly List: ServerStream<ListContentRequest, ListContentResponse>;
  readonly Read: ServerStream<ReadContentRequest, ReadContentResponse>;
  readonly Write: Exchange<WriteContentRequest, WriteContentResponse>;
  readonly Abort: Unary<AbortContentRequest, Empty>;
}

export const contentService: ServiceContract<ContentMethods> = {
  name: 'containerd.services.content.v1.Content',
  file: 'containerd/services/content/v1/content.proto',
};
