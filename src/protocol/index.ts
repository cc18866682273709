export { ServiceClient } from './client.js';
export { definitionOf, loadDefinitions } from './definitions.js';
export { loadDescriptors } from './descriptors.js';
export type { RequestOf, ResponseOf, ServerStream, ServiceContract, Unary } from './service.js';
export { fromInt64, fromWireDescriptor, toInt64, toTimestamp, toWireDescriptor } from './values.js';
export { contentService, type ContentMethods } from './content.js';
export { diffService, type DiffMethods } from './diff.js';
export { introspectionService, type IntrospectionMethods } from './introspection.js';
export { snapshotsService, type SnapshotInfoMessage, type SnapshotsMethods } from './snapshots.js';
