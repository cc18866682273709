import type { Scope } from '../../src/scope.js';
import type { Environment, OpenChain } from '../../src/spfs/index.js';
import type { Session } from './session.js';

/** What can be shown instead of run. */
export type PrintWhat = 'chain' | 'mounts' | 'qemu';

export interface PrepareOptions {
  readonly session: Session;
  readonly refs: string;
  /** Name of an image. */
  readonly root: string | undefined;
  /** Where the command starts. */
  readonly cwd: string | undefined;
  readonly print: PrintWhat | undefined;
  /** Closes what is opened. */
  readonly scope: Scope;
  readonly signal: AbortSignal;
}

/** What a guest is started from. */
export interface Prepared {
  readonly environment: Environment;
  /** Absent when only the chain was asked for, which needs no disks. */
  readonly stack: OpenChain | undefined;
  readonly root: OpenChain | undefined;
  readonly rootImage: string | undefined;
  /** How long resolving and preparing took. */
  readonly seconds: number;
}

export async function prepareRun({
  session,
  refs,
  root: image,
  cwd,
  print,
  scope,
  signal,
}: PrepareOptions): Promise<Prepared> {
  const started = performance.now();
  const { companion } = session;
  const environment = await companion.environment(refs);
  const opened = async (what: string, open: () => Promise<OpenChain>) => {
    const chain = await open();
    scope.defer(what, () => chain.close());
    return chain;
  };
  const stack =
    print === 'chain' ? undefined : await opened('the stack', () => companion.open(environment.layers, { signal }));
  const root = image === undefined ? undefined : await opened('the root', () => companion.openImage(image, signal));
  if (stack) {
    const { liveLayers } = environment;
    await companion.checkRun({ liveLayers, stack: stack.mounts, root: root?.mounts }, cwd);
  }
  return { environment, stack, root, rootImage: image, seconds: (performance.now() - started) / 1000 };
}
