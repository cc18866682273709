import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { MissingProgram, RigError, Service } from './process.js';

/** Debian and scripts/setup name it differently. */
const programs = ['registry', 'docker-registry'];

/** An image registry on the loopback interface that keeps its blobs in one folder. */
export class Registry {
  readonly #service: Service;
  /** `127.0.0.1:<port>`, the first part of image names. */
  readonly host: string;

  private constructor(service: Service, host: string) {
    this.#service = service;
    this.host = host;
  }

  /** @throws RigError when no registry is installed or it does not start. */
  static async start(folder: string): Promise<Registry> {
    const port = await freePort();
    const host = `127.0.0.1:${port}`;
    const config = join(folder, 'registry.yml');
    await writeFile(config, configuration(join(folder, 'blobs'), host));
    let missing: unknown;
    for (const program of programs) {
      const service = new Service({ program, args: ['serve', config], listensOn: { port } });
      try {
        await service.start();
        return new Registry(service, host);
      } catch (error) {
        if (!(error instanceof MissingProgram)) throw error;
        missing = error;
      }
    }
    throw new RigError(`no ${programs.join(' or ')} is on PATH`, 'run scripts/setup, or install the Docker registry', {
      cause: missing,
    });
  }

  async stop(): Promise<void> {
    await this.#service.stop();
  }
}

function configuration(folder: string, host: string): string {
  return `version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: ${JSON.stringify(folder)}
http:
  addr: ${host}
`;
}

/** Another program may take the port before the registry does; then the registry says so and ends. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port);
        else reject(new Error('a listening server has no port'));
      });
    });
  });
}
