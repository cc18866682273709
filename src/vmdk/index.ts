export { parseDescriptor, renderDescriptor, verifyDescriptor, type Disk } from './descriptor.js';
