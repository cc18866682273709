import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { loadSync } from '@grpc/proto-loader';
import { makeClientConstructor, credentials, type ClientDuplexStream, type ServiceDefinition } from '@grpc/grpc-js';
import type { IDescriptorProto, IFileDescriptorProto } from 'protobufjs/ext/descriptor/index.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeFile } from '../protocol/descriptors.js';
import { startWorld, type World } from './world.js';

interface Request {
  readonly listServices?: string;
  readonly fileContainingSymbol?: string;
  readonly fileByFilename?: string;
}
interface Response {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
}

/** The full names of all messages and enums that a file or message defines, at any depth. */
function typesIn(scope: string, { enumType, ...holder }: IDescriptorProto | IFileDescriptorProto): string[] {
  const messages = 'nestedType' in holder ? holder.nestedType : 'messageType' in holder ? holder.messageType : [];
  const enums = (enumType ?? []).map(({ name }) => `.${scope}.${name}`);
  return [
    ...enums,
    ...(messages ?? []).flatMap((each) => [`.${scope}.${each.name}`, ...typesIn(`${scope}.${each.name}`, each)]),
  ];
}

/** The types that a file's fields and methods name. */
function referencesIn({ messageType, service }: IFileDescriptorProto): string[] {
  const ofMessage = (message: IDescriptorProto): string[] => [
    ...(message.field ?? []).flatMap(({ typeName }) => typeName || []),
    ...(message.nestedType ?? []).flatMap(ofMessage),
  ];
  const methods = (service ?? []).flatMap(({ method }) => method ?? []);
  const ofMethods = methods.flatMap(({ inputType = '', outputType = '' }) => [inputType, outputType]);
  return [...(messageType ?? []).flatMap(ofMessage), ...ofMethods];
}

const protos = join(dirname(createRequire(import.meta.url).resolve('@grpc/reflection')), '..', 'proto');

describe.each(['v1', 'v1alpha'])('the reflection service %s', (version) => {
  let world: World;
  let ask: (request: Request) => Promise<Response>;
  let close: () => void;
  beforeAll(async () => {
    world = await startWorld();
    const name = `grpc.reflection.${version}.ServerReflection`;
    const definition = loadSync(join(protos, `grpc/reflection/${version}/reflection.proto`))[name] as ServiceDefinition;
    const client = new (makeClientConstructor(definition, name))(`unix:${world.address}`, credentials.createInsecure());
    close = () => client.close();
    ask = (request) =>
      new Promise((resolve, reject) => {
        const stream = (client['ServerReflectionInfo'] as () => ClientDuplexStream<Request, Response>).call(client);
        stream.on('data', resolve).on('error', reject);
        stream.write(request);
        stream.end();
      });
  });
  afterAll(async () => {
    close();
    await world.close();
  });

  /** Every file a client needs for `symbol`, fetched one by one along the dependencies that the files state. */
  const fetchFiles = async (symbol: string) => {
    const files = new Map<string, IFileDescriptorProto>();
    const add = async (request: Request): Promise<IFileDescriptorProto> => {
      const [bytes] = (await ask(request)).fileDescriptorResponse?.fileDescriptorProto ?? [];
      if (bytes === undefined) throw new Error(`no file for ${JSON.stringify(request)}`);
      const file = decodeFile(bytes);
      files.set(file.name ?? '', file);
      for (const needed of (file.dependency as string[] | undefined) ?? [])
        if (!files.has(needed)) await add({ fileByFilename: needed });
      return file;
    };
    return { file: await add({ fileContainingSymbol: symbol }), files: [...files.values()] };
  };

  it('lists the services', async () => {
    const { listServicesResponse } = await ask({ listServices: '*' });
    expect(listServicesResponse?.service.map(({ name }) => name).sort()).toEqual([
      'containerd.services.diff.v1.Diff',
      'containerd.services.snapshots.v1.Snapshots',
      'grpc.health.v1.Health',
    ]);
  });

  it.each(['containerd.services.snapshots.v1.Snapshots', 'containerd.services.diff.v1.Diff', 'grpc.health.v1.Health'])(
    'describes %s so that a strict client resolves every type it names',
    async (symbol) => {
      const { files } = await fetchFiles(symbol);
      for (const file of files) {
        const visible = files.filter(
          ({ name = '' }) => name === file.name || (file.dependency as string[] | undefined)?.includes(name),
        );
        const types = new Set(visible.flatMap((each) => typesIn(each.package ?? '', each)));
        expect(referencesIn(file).filter((name) => !types.has(name))).toEqual([]);
      }
    },
  );

  it('names fields as the .proto files do, and entries of maps as protoc does: grpcurl refuses other names', async () => {
    const { file } = await fetchFiles('containerd.services.snapshots.v1.Snapshots');
    const message = file.messageType?.find(({ name }) => name === 'Info');
    expect(message?.field?.map(({ name }) => name)).toContain('created_at');
    expect(message?.nestedType?.map(({ name, options }) => [name, options?.mapEntry])).toEqual([['LabelsEntry', true]]);
    expect(message?.field?.find(({ name }) => name === 'labels')?.typeName).toBe(
      '.containerd.services.snapshots.v1.Info.LabelsEntry',
    );
  });
});
