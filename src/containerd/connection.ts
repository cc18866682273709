import { credentials, Client, Metadata, type ClientOptions } from '@grpc/grpc-js';

const mebibyte = 1024 * 1024;

/** Time for an answer that containerd has at hand: it looks into its database and no further. */
export const answerDeadlineMs = 10_000;
/** Time for what unpacks, merges or writes a layer; callers can cancel sooner. */
export const workDeadlineMs = 2 * 60 * 60_000;
/** Time for the next piece of a blob. */
export const stallMs = 60_000;

const options: ClientOptions = {
  // containerd's own limit for a message.
  'grpc.max_receive_message_length': 16 * mebibyte,
  'grpc.max_send_message_length': 16 * mebibyte,
  // With the 64 KiB that HTTP/2 starts with, reading a blob waits for a round trip every second message.
  'grpc-node.flow_control_window': 16 * mebibyte,
  // A unix socket costs nothing to try, and a restarted containerd is waited for by users.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
};

/** One channel that all clients share. It connects on the first call, and again whenever containerd was restarted. */
export function openChannel(socketPath: string): Client {
  return new Client(`unix:${socketPath}`, credentials.createInsecure(), options);
}

/** What containerd needs to know with each call that concerns a namespace's content; `lease` keeps what the call makes. */
export function inNamespace(namespace: string, lease?: string): Metadata {
  const metadata = new Metadata();
  metadata.set('containerd-namespace', namespace);
  if (lease !== undefined) metadata.set('containerd-lease', lease);
  return metadata;
}
