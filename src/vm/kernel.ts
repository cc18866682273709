/** A kernel whose modules were prepared: decompressed, in one folder. */
export interface PreparedKernel {
  readonly vmlinuz: string;
  /** Folder of uncompressed modules. */
  readonly modulesFolder: string;
  /** File that names one module of that folder a line, in the order to load them. */
  readonly modulesOrder: string;
}

/** A kernel as a distribution installs it. */
export interface InstalledKernel {
  readonly vmlinuz: string;
  /** Paths of modules (`.ko`, `.ko.xz`, `.ko.zst`, `.ko.gz`), in the order to load them. */
  readonly modules: readonly string[];
}

/** A guest kernel and what it needs before it can see a disk. */
export type GuestKernel = PreparedKernel | InstalledKernel;
