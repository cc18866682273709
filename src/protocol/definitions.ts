import { join } from 'node:path';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type Options, type PackageDefinition } from '@grpc/proto-loader';
import { packageRoot } from '../package.js';
import type { ServiceContract } from './service.js';

/**
 * Reads the services' `.proto` files. Names become camelCase, 64-bit integers decimal text (exact at every size), enums
 * their names; every field is present, with its default when it was not sent.
 */
export function loadDefinitions(services: readonly ServiceContract<unknown>[]): PackageDefinition {
  return loadFiles(services, [], {
    keepCase: false,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  });
}

export function loadFiles(
  services: readonly ServiceContract<unknown>[],
  furtherFiles: readonly string[],
  options: Options,
): PackageDefinition {
  const files = [...services.map((service) => service.file), ...furtherFiles];
  return loadSync(files, { ...options, includeDirs: [join(packageRoot(), 'proto')] });
}

/** @throws Error when `definitions` was loaded without this service: a bug. */
export function definitionOf(definitions: PackageDefinition, service: ServiceContract<unknown>): ServiceDefinition {
  const definition = definitions[service.name];
  if (definition === undefined || 'format' in definition) throw new Error(`${service.name} is not a loaded service`);
  return definition;
}
