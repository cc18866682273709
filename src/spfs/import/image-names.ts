import { CodedError } from '../../errors.js';
import { similarTo } from '../../similar.js';

/** Names that an error shows, at most. */
const most = 5;

/** For a name that containerd does not know; `known` are the names that it has in that namespace. */
export function unknownImage(name: string, namespace: string, known: readonly string[], cause?: unknown): CodedError {
  const similar = similarImages(name, known);
  const where = `containerd has no image ${JSON.stringify(name)} in namespace ${JSON.stringify(namespace)}`;
  const others = known.length === 0 ? ', nor any other' : '';
  const next =
    similar.length > 0
      ? `give the whole name, as one of these: ${similar.join(', ')}`
      : `see \`ctr -n ${namespace} images ls -q\` for the names, pull the image, or name another namespace with --namespace`;
  return new CodedError('not-found', `${where}${others}`, {
    facts: { image: name, namespace, ...(similar.length > 0 && { similar }) },
    next,
    cause,
  });
}

/** People leave out the registry, the tag, or both; or they mistype one letter. */
function similarImages(name: string, known: readonly string[]): readonly string[] {
  const repository = repositoryOf(name);
  const same = known.filter((each) => {
    const theirs = repositoryOf(each);
    return theirs === repository || theirs.endsWith(`/${repository}`) || repository.endsWith(`/${theirs}`);
  });
  const slips = similarTo(name, known, most);
  const base = repository.slice(repository.lastIndexOf('/') + 1);
  const bases = known.filter((each) => {
    const theirs = repositoryOf(each);
    return theirs.slice(theirs.lastIndexOf('/') + 1) === base;
  });
  return [...new Set([...slips, ...same, ...bases])].slice(0, most);
}

/** Without tag and digest; a colon before the last slash belongs to the registry's port. */
function repositoryOf(name: string): string {
  const [withTag = ''] = name.split('@');
  const colon = withTag.lastIndexOf(':');
  return colon > withTag.lastIndexOf('/') ? withTag.slice(0, colon) : withTag;
}
