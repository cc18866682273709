import { makeGrpcWorld } from './grpc.js';
import { describeSnapshotter } from './suite.js';

describeSnapshotter('the snapshotter behind gRPC', makeGrpcWorld, { depth: 6 });
