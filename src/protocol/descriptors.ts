import type { EnumTypeDefinition, MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader';
import descriptor, { type IDescriptorProto, type IFileDescriptorProto } from 'protobufjs/ext/descriptor/index.js';
import { loadFiles } from './definitions.js';
import type { ServiceContract } from './service.js';

type Described = MessageTypeDefinition<object, object> | EnumTypeDefinition;

/** A type by its full name: the file that has it, and its full name once that is mended. */
type Types = Map<string, { readonly file: string; readonly name: string }>;

/**
 * The services' descriptors for the reflection service, under the names that the `.proto` files use.
 *
 * What protobufjs makes is not what protoc makes, and Go clients (grpcurl) refuse it: the entries of a map field are
 * called `Labels` where `LabelsEntry` is required, types of other files are named relatively, and the files do not say
 * which others they need. This mends all three.
 */
export function loadDescriptors(
  services: readonly ServiceContract<unknown>[],
  furtherFiles: readonly string[] = [],
): PackageDefinition {
  const loaded = loadFiles(services, furtherFiles, { keepCase: true });
  // Each message and each enum carries the same list, of all files.
  const carrier = Object.entries(loaded).find((entry): entry is [string, Described] => 'format' in entry[1]);
  if (carrier === undefined) throw new Error('the .proto files define no message');
  const [name, definition] = carrier;
  const { FileDescriptorProto } = descriptor;
  const files = definition.fileDescriptorProtos.map(
    (bytes) => FileDescriptorProto.decode(bytes) as IFileDescriptorProto,
  );

  const types: Types = new Map();
  for (const file of files) {
    const scope = file.package ?? '';
    for (const each of file.enumType ?? []) addType(types, file, scope, each.name);
    for (const message of file.messageType ?? []) addTypesOf(types, file, scope, message);
  }
  for (const file of files) mendFile(file, types);
  const fileDescriptorProtos = files.map((file) => Buffer.from(FileDescriptorProto.encode(file).finish()));
  return { [name]: { ...definition, fileDescriptorProtos } };
}

function mendFile(file: IFileDescriptorProto, types: Types): void {
  const needed = new Set<string>();
  const scope = file.package ?? '';
  for (const message of file.messageType ?? []) mendMessage(message, scope, types, needed);
  for (const method of (file.service ?? []).flatMap((service) => service.method ?? [])) {
    method.inputType = mendName(method.inputType ?? '', scope, types, needed);
    method.outputType = mendName(method.outputType ?? '', scope, types, needed);
  }
  needed.delete(file.name ?? '');
  file.dependency = [...needed];
}

function addType(types: Types, file: IFileDescriptorProto, scope: string, name = '', mended = name): void {
  types.set(`${scope}.${name}`, { file: file.name ?? '', name: `.${scope}.${mended}` });
}

function addTypesOf(types: Types, file: IFileDescriptorProto, scope: string, message: IDescriptorProto): void {
  const { name = '' } = message;
  addType(types, file, scope, name, isMapEntry(message) ? entryName(name) : name);
  for (const each of message.enumType ?? []) addType(types, file, `${scope}.${name}`, each.name);
  for (const nested of message.nestedType ?? []) addTypesOf(types, file, `${scope}.${name}`, nested);
}

function mendMessage(message: IDescriptorProto, scope: string, types: Types, needed: Set<string>): void {
  const own = `${scope}.${message.name ?? ''}`;
  for (const field of message.field ?? []) {
    if (field.typeName) field.typeName = mendName(field.typeName, own, types, needed);
  }
  for (const nested of message.nestedType ?? []) mendMessage(nested, own, types, needed);
  if (isMapEntry(message)) message.name = entryName(message.name ?? '');
}

/** Finds a type as protobuf does, from the innermost scope outwards. */
function mendName(reference: string, scope: string, types: Types, needed: Set<string>): string {
  const absolute = reference.startsWith('.');
  for (let from = absolute ? '' : scope; ; from = from.slice(0, Math.max(0, from.lastIndexOf('.')))) {
    const found = types.get(absolute ? reference.slice(1) : from === '' ? reference : `${from}.${reference}`);
    if (found) {
      needed.add(found.file);
      return found.name;
    }
    if (from === '') throw new Error(`${scope} names the type ${reference}, which no loaded file defines`);
  }
}

function isMapEntry(message: IDescriptorProto): boolean {
  return message.options?.mapEntry === true;
}

/** protoc's rule, for a name that protobufjs made of the field's by writing its first letter large. */
function entryName(name: string): string {
  return `${name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())}Entry`;
}
