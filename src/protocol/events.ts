import type { ServerStream, ServiceContract } from './service.js';
import type { Any, Timestamp } from './values.js';

/** `containerd.services.events.v1`, as far as this project calls it. */
export interface SubscribeRequest {
  readonly filters: readonly string[];
}

export interface EnvelopeMessage {
  readonly timestamp: Timestamp | null;
  readonly namespace: string;
  readonly topic: string;
  readonly event: Any | null;
}

export interface EventsMethods {
  readonly Subscribe: ServerStream<SubscribeRequest, EnvelopeMessage>;
}

export const eventsService: ServiceContract<EventsMethods> = {
  name: 'containerd.services.events.v1.Events',
  file: 'containerd/services/events/v1/events.proto',
};
