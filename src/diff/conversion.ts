import { rm } from 'node:fs/promises';
import type { Scope } from '../scope.js';
import type { Descriptor, Digest } from '../vocabulary.js';
import { withDeadline } from '../waiting.js';
import type { LayerFormat } from './media-types.js';
import type { Inspector, Inspectors } from './thread/inspector.js';

/** What a conversion is asked for. */
export interface ConversionRequest {
  readonly descriptor: Descriptor;
  readonly digest: Digest;
  /** What the image's configuration says of the layer's tar, if known. A tar that hashes to it needs no further proof. */
  readonly diffId?: Digest;
  /** As the media type states it; of a tar, the bytes decide how it is compressed. */
  readonly format: LayerFormat;
  readonly namespace?: string;
  /** An unused path on the filesystem where the layer will have its place. */
  readonly temporary: (purpose: string) => string;
  readonly signal: AbortSignal;
}

/** What conversions may take. */
export interface ConversionBounds {
  /** Milliseconds that one layer may take once its turn has come. */
  readonly conversionTimeoutMs: number;
  /** Bytes that a layer's tar may have, at most; what fits on the disk bounds it in any case. */
  readonly maxLayerBytes: number;
}

/** One layer on its way to a verified image: what it is, and what it works with until its scope ends. */
export class Conversion {
  readonly descriptor: Descriptor;
  readonly digest: Digest;
  readonly diffId: Digest | undefined;
  readonly format: LayerFormat;
  readonly namespace: string | undefined;
  /** Where the image is made, in the folder of the layer's place. */
  readonly output: string;
  /** The caller's, which also aborts when the time is over. */
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
  readonly maxLayerBytes: number;
  readonly #temporary: (purpose: string) => string;
  readonly #inspectors: Inspectors;
  readonly #scope: Scope;
  #inspector: Inspector | undefined;

  constructor(request: ConversionRequest, bounds: ConversionBounds, inspectors: Inspectors, scope: Scope) {
    const { descriptor, digest, diffId, format, namespace, temporary } = request;
    this.descriptor = descriptor;
    this.digest = digest;
    this.diffId = diffId;
    this.format = format;
    this.namespace = namespace;
    this.output = temporary('layer.erofs');
    this.deadlineMs = bounds.conversionTimeoutMs;
    this.maxLayerBytes = bounds.maxLayerBytes;
    this.signal = withDeadline(request.signal, this.deadlineMs, `converting layer ${digest}`, scope);
    this.#temporary = temporary;
    this.#inspectors = inspectors;
    this.#scope = scope;
  }

  /** The thread that reads this layer. */
  get inspector(): Inspector {
    return (this.#inspector ??= this.#lendInspector());
  }

  /** A path beside the image that is free again when the conversion is over. */
  temporary(purpose: string): string {
    const path = this.#temporary(purpose);
    this.#scope.defer(path, () => rm(path, { force: true }));
    return path;
  }

  #lendInspector(): Inspector {
    const inspector = this.#inspectors.lend();
    this.#scope.defer('the thread that reads the layer', () => this.#inspectors.giveBack(inspector));
    return inspector;
  }
}
