export { ServiceClient } from './client.js';
export { definitionOf, loadDefinitions } from './definitions.js';
export { loadDescriptors } from './descriptors.js';
export type { RequestOf, ResponseOf, ServerStream, ServiceContract, Unary } from './service.js';
export { RefusedRequest, withStrictText } from './strict-text.js';
export { fromInt64, fromWireDescriptor, toInt64, toTimestamp, toWireDescriptor, type Timestamp } from './values.js';
export * from './services.js';
