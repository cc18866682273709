import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type IncomingMessage, request, type RequestOptions } from 'node:http';
import { pipeline } from 'node:stream/promises';

import { blobPath, type Image } from './oci-layout.js';
import { RigError } from './process.js';

/**
 * Pushes an image to a registry without TLS or login, by the OCI distribution protocol. Not with ctr: an image that went
 * through containerd's content store would not be fetched again by the pull that follows.
 *
 * @param host `127.0.0.1:<port>`
 * @returns the name to pull it by.
 */
export async function pushImage(image: Image, host: string, repository: string, tag: string): Promise<string> {
  const base = `http://${host}/v2/${repository}`;
  for (const { digest, size } of [image.manifest.config, ...image.manifest.layers]) {
    const { status } = await send(`${base}/blobs/${digest}`, { method: 'HEAD' });
    if (status === 200) continue;
    const started = await expectStatus(202, `${base}/blobs/uploads/`, { method: 'POST' });
    const location = new URL(started.headers.location ?? '', base);
    location.searchParams.set('digest', digest);
    const headers = { 'content-type': 'application/octet-stream', 'content-length': size };
    await expectStatus(201, location.href, { method: 'PUT', headers }, blobPath(image.layout, digest));
  }
  const { mediaType, digest } = image.descriptor;
  const path = blobPath(image.layout, digest);
  const headers = { 'content-type': mediaType, 'content-length': (await readFile(path)).length };
  await expectStatus(201, `${base}/manifests/${tag}`, { method: 'PUT', headers }, path);
  return `${host}/${repository}:${tag}`;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

async function expectStatus(status: number, url: string, options: RequestOptions, file?: string): Promise<Answer> {
  const answer = await send(url, options, file);
  if (answer.status === status) return answer;
  throw new RigError(
    `the registry answered ${options.method} ${url} with ${answer.status}: ${answer.text.slice(0, 300)}`,
    'check that the blobs of the image are whole',
  );
}

function send(url: string, options: RequestOptions, file?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request(url, { agent: false, ...options }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    call.on('error', reject);
    if (file === undefined) call.end();
    else pipeline(createReadStream(file), call).catch(reject);
  });
}
