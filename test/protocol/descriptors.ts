import type { PackageDefinition } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import descriptor, { type IDescriptorProto, type IFileDescriptorProto } from 'protobufjs/ext/descriptor/index.js';

/** `FieldDescriptorProto.Label` of a list or map. */
const repeated = 3;

export function decodeFile(bytes: Uint8Array): IFileDescriptorProto {
  return descriptor.FileDescriptorProto.decode(bytes) as IFileDescriptorProto;
}

export function filesOf(definitions: PackageDefinition): IFileDescriptorProto[] {
  const [first] = Object.values(definitions);
  if (first === undefined || !('format' in first)) throw new Error('no file was loaded');
  return (first.fileDescriptorProtos as Buffer[]).map(decodeFile);
}

/** One line for each field, enum value and method of a file: name, number and type, or what a method takes and gives. */
export function linesOf(file: IFileDescriptorProto): string[] {
  const prefix = file.package ?? '';
  const methods = (file.service ?? []).flatMap(({ name: service, method }) =>
    (method ?? []).map((each) => {
      const streams = `${each.clientStreaming ? 'stream ' : ''}${each.serverStreaming ? 'streams ' : ''}`;
      return `${prefix}.${service}.${each.name}(${typeName(each.inputType)}) ${streams}${typeName(each.outputType)}`;
    }),
  );
  const values = (file.enumType ?? []).flatMap(({ name, value }) =>
    (value ?? []).map((each) => `${prefix}.${name}.${each.name} = ${each.number ?? 0}`),
  );
  return [...methods, ...values, ...(file.messageType ?? []).flatMap((message) => linesOfMessage(message, prefix))];
}

function linesOfMessage(message: IDescriptorProto, prefix: string): string[] {
  const name = `${prefix}.${message.name}`;
  const fields = (message.field ?? []).map((each) => {
    const type = each.typeName ? typeName(each.typeName) : `type ${each.type}`;
    return `${name}.${each.name} = ${each.number}: ${Number(each.label) === repeated ? 'repeated ' : ''}${type}`;
  });
  return [...fields, ...(message.nestedType ?? []).flatMap((nested) => linesOfMessage(nested, name))];
}

/** The last part alone: files may spell the way to a type fully or from where they stand. */
function typeName(name: string | undefined): string {
  return name?.split('.').at(-1) ?? '';
}

/** The descriptors of `.proto` files that a Go program carries, by their paths' common beginning. */
export function filesInProgram(program: Buffer, beginning: string): IFileDescriptorProto[] {
  const found: IFileDescriptorProto[] = [];
  for (let at = program.indexOf(beginning); at !== -1; at = program.indexOf(beginning, at + 1)) {
    // A descriptor begins with its own name: field 1, its length, the text.
    const start = at - 2;
    if (program[start] !== 0x0a) continue;
    const bytes = program.subarray(start, endOfMessage(program, start));
    const file = decodeFile(bytes);
    if (file.name?.length === program[start + 1] && file.package !== undefined) found.push(file);
  }
  return found;
}

/** Reads on as long as what follows could be further fields of a file's descriptor; the last is field 12, `syntax`. */
function endOfMessage(program: Buffer, start: number): number {
  const reader = protobuf.Reader.create(program.subarray(start, start + 65_536));
  let end = 0;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    if ((tag & 7) !== 2 || field > 12 || (field === 1 && end > 0)) break;
    const length = reader.uint32();
    if (reader.pos + length > reader.len) break;
    reader.skip(length);
    end = reader.pos;
    if (field === 12) break;
  }
  return start + end;
}
