import type { Labels } from '../vocabulary.js';
import type { ServiceContract, Unary } from './service.js';
import type { Timestamp, WireDescriptor } from './values.js';

/** `containerd.services.images.v1`, as far as this project calls it. */
export interface ImageMessage {
  readonly name: string;
  readonly labels: Labels;
  /** The manifest, or the index of manifests for several platforms. */
  readonly target: WireDescriptor | null;
  readonly createdAt: Timestamp | null;
  readonly updatedAt: Timestamp | null;
}

export interface GetImageRequest {
  readonly name: string;
}

export interface GetImageResponse {
  readonly image: ImageMessage | null;
}

export interface ListImagesRequest {
  readonly filters: readonly string[];
}

export interface ListImagesResponse {
  readonly images: readonly ImageMessage[];
}

export interface ImagesMethods {
  readonly Get: Unary<GetImageRequest, GetImageResponse>;
  readonly List: Unary<ListImagesRequest, ListImagesResponse>;
}

export const imagesService: ServiceContract<ImagesMethods> = {
  name: 'containerd.services.images.v1.Images',
  file: 'containerd/services/images/v1/images.proto',
};
