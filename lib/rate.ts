/** Something per second, with tenths where whole numbers would tell little. */
export function rateWords(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}
