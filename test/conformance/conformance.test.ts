import { conforms } from "./checks.ts";
import { SITES } from "./sites.ts";

for (const site of SITES) conforms(site);
