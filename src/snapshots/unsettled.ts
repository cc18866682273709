/**
 * The snapshots whose folder a call could not bring into agreement with its record again, since the disk refused that too (it is full,
 * broken, or read-only). They are looked at again with the next calls, so that a disk that is mended needs no restart.
 */
export class Unsettled {
  readonly #ids = new Set<number>();

  get isEmpty(): boolean {
    return this.#ids.size === 0;
  }

  get ids(): readonly number[] {
    return [...this.#ids];
  }

  add(id: number): void {
    this.#ids.add(id);
  }

  delete(id: number): void {
    this.#ids.delete(id);
  }
}
