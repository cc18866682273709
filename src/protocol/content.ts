import type { Labels } from '../vocabulary.js';
import type { ServerStream, ServiceContract, Unary } from './service.js';
import type { Int64, Timestamp } from './values.js';

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

export interface ContentMethods {
  readonly Info: Unary<ContentInfoRequest, ContentInfoResponse>;
  readonly Read: ServerStream<ReadContentRequest, ReadContentResponse>;
}

export const contentService: ServiceContract<ContentMethods> = {
  name: 'containerd.services.content.v1.Content',
  file: 'containerd/services/content/v1/content.proto',
};
