/**
 * Version of the rules by which layers become images. To be raised with every change after which a layer that was converted before
 * may show something else than now: such layers stay with the snapshots that have them, and are converted anew for all others.
 * Absent from records before record version 3.
 */
export const conversionRules = 1;

/** Whether what a layer shows is what its conversion now would show. */
export function isConvertedAsNow({ rules }: { readonly rules?: number }): boolean {
  return rules !== undefined && rules >= conversionRules;
}
