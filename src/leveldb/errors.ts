import { errnoOf, CodedError } from '../errors.js';

/** What a user can do about a store that is held by another process, or is damaged. */
export interface NextSteps {
  readonly locked: string;
  readonly damaged: string;
}

export function isLevelError(error: unknown): boolean {
  return errnoOf(error)?.startsWith('LEVEL_') === true;
}

/** True for what LevelDB answers when it was closed under a reader. */
export function wasClosed(error: unknown): boolean {
  return ['LEVEL_DATABASE_NOT_OPEN', 'LEVEL_ITERATOR_NOT_OPEN', 'LEVEL_SNAPSHOT_NOT_OPEN'].includes(
    errnoOf(innerOf(error)) ?? '',
  );
}

// A missing file, a file too short to be mapped (EINVAL), a sector that cannot be read (EIO).
const damage = /No such file|does not exist|Invalid argument|Input\/output error/i;

/** What a LevelDB error means. A CodedError passes through. */
export function fromLevel(error: unknown, folder: string, next: NextSteps): CodedError {
  if (error instanceof CodedError) return error;
  const inner = innerOf(error);
  const code = errnoOf(inner) ?? '';
  const text = inner instanceof Error ? inner.message : String(inner);
  const details = { facts: { path: folder, leveldb: code }, cause: error };
  if (code === 'LEVEL_LOCKED') {
    const message = `${folder} is in use by another process`;
    return new CodedError('failed-precondition', message, { ...details, next: next.locked });
  }
  if (/No space left|quota exceeded/i.test(text)) {
    const message = `no space left for ${folder}`;
    return new CodedError('resource-exhausted', message, { ...details, next: 'free disk space' });
  }
  if (code === 'LEVEL_CORRUPTION' || code === 'LEVEL_DECODE_ERROR' || damage.test(text)) {
    return new CodedError('data-loss', `${folder} is damaged: ${text}`, { ...details, next: next.damaged });
  }
  if (wasClosed(inner)) {
    return new CodedError('unavailable', `${folder} was closed meanwhile`, { ...details, next: 'try again' });
  }
  return new CodedError('internal', `${folder}: ${text}`, details);
}

/** LevelDB's own error is the cause of the one that `level` throws when it cannot open. */
function innerOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? error.cause : error;
}
