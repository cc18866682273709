import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { packageRoot } from '../../src/package.js';

interface Task {
  readonly desc?: string;
  readonly cmd?: string;
}

const read = (name: string): string => readFileSync(join(packageRoot(), name), 'utf8');
const { tasks } = parse(read('Taskfile.yml')) as { tasks: Record<string, Task> };
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

describe('Taskfile.yml', () => {
  it('offers exactly the npm scripts', () => {
    expect(Object.keys(tasks).sort()).toEqual(Object.keys(scripts).sort());
  });

  it.each(Object.entries(tasks))('task %s calls the npm script of its name and describes it', (name, task) => {
    expect(task.cmd).toBe(`npm run ${name} -- {{.CLI_ARGS}}`);
    expect(task.desc).toMatch(/^[A-Z].{10,}[^.]$/);
  });
});

describe('package.json', () => {
  it.each(['demo', 'test', 'test:all'])('%s sets a fresh checkout up before it needs node_modules', (name) => {
    expect(scripts[name]).toMatch(/^scripts\/setup && /);
  });
});
