export { parseDescriptor, renderDescriptor, verifyDescriptor, type Disk, type Extent } from './descriptor.js';
