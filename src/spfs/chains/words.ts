import { isCode, CodedError } from '../../errors.js';
import type { Digest } from '../../vocabulary.js';
import { shortForm, toBase32 } from '../digest.js';
import { spfsNamespace, type Link } from './names.js';

/** What the snapshotter or containerd said of one link, with the layer that it was about. Anything else stays as it is. */
export function aboutLink(error: unknown, { layer, position, of }: Link): unknown {
  // A service that does not answer, or is not awaited, has said nothing about a layer.
  if (!(error instanceof CodedError) || error.code === 'unavailable' || error.code === 'cancelled') return error;
  const which = of === 1 ? `layer ${shortForm(layer)}` : `layer ${shortForm(layer)} (${position} of ${of} from below)`;
  return new CodedError(error.code, `${which} cannot be used: ${error.message}`, {
    facts: { ...error.facts, layer, digest: toBase32(layer) },
    next: error.next,
    cause: error,
  });
}

/** What the snapshotter or containerd said of a whole chain. */
export function aboutChain(error: unknown, links: readonly Link[]): unknown {
  const top = links.at(-1);
  if (!(error instanceof CodedError) || error.code === 'unavailable' || error.code === 'cancelled' || !top)
    return error;
  const which = top.of === 1 ? `layer ${shortForm(top.layer)}` : `the stack of ${top.of} layers`;
  return new CodedError(error.code, `${which} cannot be used: ${error.message}`, {
    facts: { ...error.facts, chain: top.name, layers: top.of },
    // What is damaged stays until nothing keeps it: importing alone would find it again.
    next: error.next ?? 'untag what has it, then import that again',
    cause: error,
  });
}

export function missingLayer(layer: Digest): CodedError {
  return new CodedError(
    'not-found',
    `layer ${shortForm(layer)} is not here: erofs-snapshotter holds no layer ${toBase32(layer)} (${layer})`,
    {
      facts: { layer, digest: toBase32(layer) },
      next: 'import the image, tar or folder that it came with again',
    },
  );
}

/** Whether an error says that the snapshotter does not hold this very layer. */
export function isMissing(error: unknown, layer: Digest): boolean {
  return isCode(error, 'not-found') && error.facts['layer'] === layer;
}

/** For a layer that stands, and that the snapshotter does not know as what it is. */
export function unpackedByAnother(layer: Digest, snapshotter: string): CodedError {
  return new CodedError(
    'failed-precondition',
    `containerd did not have layer ${shortForm(layer)} unpacked by the differ of ${snapshotter}`,
    {
      facts: { layer, digest: toBase32(layer) },
      next:
        "put that differ first under [plugins.'io.containerd.service.v1.diff-service'] in containerd's configuration: " +
        "default = ['spin-erofs-diff', 'walking']; then restart containerd",
    },
  );
}

/** For a blob that does not have the layer it is said to have. */
export function anotherLayer(layer: Digest, found: string, blob: string): CodedError {
  return new CodedError('data-loss', `blob ${blob} unpacks to ${found}, and should be layer ${layer}`, {
    facts: { layer, digest: toBase32(layer), found, blob },
    next: 'remove the image and pull it again',
  });
}

/** For a snapshot that containerd lists and that is not there however often it is asked for. */
export function unsettled(links: readonly Link[], snapshotter: string, cause: unknown): CodedError {
  const top = links.at(-1)?.name ?? '';
  const said = cause instanceof Error ? `: ${cause.message}` : '';
  return new CodedError(
    'unavailable',
    `the chain ${top} of ${links.length} layers cannot be completed: its snapshots vanish while it is built${said}`,
    {
      facts: { chain: top, layers: links.length },
      next:
        `try again; if it stays so, containerd lists snapshots that erofs-snapshotter does not have: remove those with ` +
        `\`ctr -n ${spfsNamespace} snapshots --snapshotter ${snapshotter} rm NAME\``,
      cause,
    },
  );
}
