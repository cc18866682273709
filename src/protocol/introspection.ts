import type { ServiceContract, Unary } from './service.js';
import type { Any } from './values.js';

/** `containerd.services.introspection.v1`, as far as this project calls it. */
export interface PluginMessage {
  readonly type: string;
  readonly id: string;
  readonly requires: readonly string[];
  readonly platforms: readonly Platform[];
  /** What the plugin tells about itself: `root` is where it keeps its files. */
  readonly exports: Readonly<Record<string, string>>;
  readonly capabilities: readonly string[];
  /** Why it does not run; null when it does. */
  readonly initErr: RpcStatus | null;
}

export interface PluginsRequest {
  readonly filters: readonly string[];
}

export interface PluginsResponse {
  readonly plugins: readonly PluginMessage[];
}

interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
  readonly osVersion: string;
}

interface RpcStatus {
  readonly code: number;
  readonly message: string;
  readonly details: readonly Any[];
}

export interface IntrospectionMethods {
  readonly Plugins: Unary<PluginsRequest, PluginsResponse>;
}

export const introspectionService: ServiceContract<IntrospectionMethods> = {
  name: 'containerd.services.introspection.v1.Introspection',
  file: 'containerd/services/introspection/v1/introspection.proto',
};
