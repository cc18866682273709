import type { ContentDefinition, ContentHandlers } from './generated/containerd/services/content/v1/Content.js';
import type { DiffDefinition, DiffHandlers } from './generated/containerd/services/diff/v1/Diff.js';
import type { EventsDefinition, EventsHandlers } from './generated/containerd/services/events/v1/Events.js';
import type { ImagesDefinition, ImagesHandlers } from './generated/containerd/services/images/v1/Images.js';
import type {
  IntrospectionDefinition,
  IntrospectionHandlers,
} from './generated/containerd/services/introspection/v1/Introspection.js';
import type { LeasesDefinition, LeasesHandlers } from './generated/containerd/services/leases/v1/Leases.js';
import type { SnapshotsDefinition, SnapshotsHandlers } from './generated/containerd/services/snapshots/v1/Snapshots.js';
import type { Generated, ServiceContract } from './service.js';

export type { Image__Output as ImageMessage } from './generated/containerd/services/images/v1/Image.js';
export type { Info__Output as SnapshotInfoMessage } from './generated/containerd/services/snapshots/v1/Info.js';

export type ContentMethods = Generated<ContentDefinition, ContentHandlers>;
export type DiffMethods = Generated<DiffDefinition, DiffHandlers>;
export type EventsMethods = Generated<EventsDefinition, EventsHandlers>;
export type ImagesMethods = Generated<ImagesDefinition, ImagesHandlers>;
export type IntrospectionMethods = Generated<IntrospectionDefinition, IntrospectionHandlers>;
export type LeasesMethods = Generated<LeasesDefinition, LeasesHandlers>;
export type SnapshotsMethods = Generated<SnapshotsDefinition, SnapshotsHandlers>;

export const contentService: ServiceContract<ContentMethods> = contract('content', 'Content');
export const diffService: ServiceContract<DiffMethods> = contract('diff', 'Diff');
export const eventsService: ServiceContract<EventsMethods> = contract('events', 'Events');
export const imagesService: ServiceContract<ImagesMethods> = contract('images', 'Images');
export const introspectionService: ServiceContract<IntrospectionMethods> = contract('introspection', 'Introspection');
export const leasesService: ServiceContract<LeasesMethods> = contract('leases', 'Leases');
export const snapshotsService: ServiceContract<SnapshotsMethods> = contract('snapshots', 'Snapshots');

/** containerd names its services, and the files that define them, by one rule. */
function contract<Methods>(folder: string, service: string): ServiceContract<Methods> {
  return {
    name: `containerd.services.${folder}.v1.${service}`,
    file: `containerd/services/${folder}/v1/${folder}.proto`,
  };
}
