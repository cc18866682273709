export { renderDescriptor, verifyDescriptor, type Disk } from './descriptor.js';
