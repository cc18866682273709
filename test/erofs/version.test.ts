import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { checkErofsTools } from '../../src/erofs/index.js';
import { judgeVersion } from '../../src/erofs/version.js';
import { temporaryFolder } from '../host/temporary.js';
import { fakeMkfs } from './images.js';

/** Lines of `version of the tool -> what is made of it`. */
const rows = readFileSync(new URL('fixtures/versions.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => line.split(' -> ') as [string, string]);

describe('the version of mkfs.erofs', () => {
  it.each(rows)('%s: %s', (said, verdict) => {
    const judge = () => judgeVersion(`${said}\navailable compressors: lz4, zstd\n`);
    if (verdict === 'converts and merges') expect(judge().canMerge).toBe(true);
    else if (verdict === 'converts') expect(judge().canMerge).toBe(false);
    else expect(judge).toThrow(verdict);
  });

  it('is named when it is refused, with the one that is needed', () => {
    expect(() => judgeVersion('mkfs.erofs (erofs-utils) 1.8.7')).toThrow(
      expect.objectContaining({
        code: 'failed-precondition',
        facts: { found: '1.8.7', needed: '1.8.10', neededToMerge: '1.9.3' },
        next: expect.stringContaining('1.9.3') as string,
      }),
    );
  });

  it('is asked of the tool on PATH', async () => {
    await fakeMkfs(await temporaryFolder(), 'echo "mkfs.erofs (erofs-utils) 1.9.9"');
    expect(await checkErofsTools()).toEqual({ version: '1.9.9', canMerge: true });
  });

  it('cannot be asked of a tool that is not there: what to install is said', async () => {
    const before = process.env['PATH'];
    process.env['PATH'] = await temporaryFolder();
    try {
      await expect(checkErofsTools()).rejects.toMatchObject({
        code: 'unavailable',
        next: expect.stringContaining('erofs-utils 1.9.3') as string,
      });
    } finally {
      process.env['PATH'] = before;
    }
  });
});
