import { conforms } from "./conformance-checks.ts";
import { SITES } from "./conformance-sites.ts";

for (const site of SITES) conforms(site);
