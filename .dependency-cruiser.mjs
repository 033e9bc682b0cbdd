/**
 * Who may import whom, from the top of the house to the bottom. `npm run check` holds the sources to it.
 * A page (`stream.ts`) and the folder of its name (`stream/`) are one place.
 */
const MAY_IMPORT = {
  index: ["session", "admin", "provider", "ui", "config", "lib"],
  session: ["admin", "provider", "ui", "activity", "server", "config", "masking", "lib"],
  admin: [
    "provider",
    "host",
    "devices",
    "huggingface",
    "server",
    "ui",
    "activity",
    "config",
    "masking",
    "memory",
    "lib",
  ],
  provider: ["stream", "messages", "server", "activity", "config", "masking", "memory", "lib"],
  stream: ["messages", "server", "activity", "config", "masking", "lib"],
  host: ["config", "lib"],
  devices: ["config", "lib"],
  huggingface: ["config", "lib"],
  server: ["activity", "config", "masking", "lib"],
  messages: ["lib"],
  config: ["lib"],
  activity: ["lib"],
  ui: ["lib"],
  masking: ["lib"],
  memory: ["lib"],
  lib: [],
};

/** Folders that others enter by these files alone, or by the page of the folder's name. */
const FRONTS = {
  session: ["session"],
  admin: ["completion"],
  "admin/panel": ["panel"],
  "admin/devices": ["add", "ca-access", "completion", "enrol", "list-view", "revoke", "words"],
  provider: ["provider", "ahead", "ai-server", "pi-models", "registration"],
  stream: ["body", "message"],
  messages: ["output-limit"],
  "server/http": [
    "access",
    "answer-faults",
    "body-sizes",
    "error-body",
    "handshake",
    "http",
    "identity",
    "open-door",
    "reach",
    "session-header",
    "tls",
    "transport-faults",
    "watched-stream",
  ],
  memory: ["memory"],
  masking: ["masking", "own-secrets"],
};

const PRODUCT =
  "^(index|config|messages|stream|admin)\\.ts$|^(session|admin|provider|stream|messages|activity|server|host|devices|config|huggingface|ui|masking|memory|lib)/";
const place = (name) => `^${name}(\\.ts$|/)`;
const places = (names) => names.map(place).join("|");

export default {
  forbidden: [
    {
      name: "no circles",
      comment: "Files that need each other are one idea, or one of them holds a third.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    ...Object.entries(MAY_IMPORT).map(([name, below]) => ({
      name: `${name} knows ${below.length === 0 ? "no other folder" : below.join(", ")}`,
      severity: "error",
      from: { path: place(name) },
      to: { path: PRODUCT, pathNot: places([name, ...below]) },
    })),
    {
      name: "server, host and huggingface know no pi and no terminal",
      severity: "error",
      from: { path: places(["server", "host", "huggingface"]) },
      to: { path: "@earendil-works/|^ui/" },
    },
    {
      name: "messages, host/config and the decoder do no I/O",
      severity: "error",
      from: { path: `${place("messages")}|^host/config/|^stream/decoder` },
      to: { dependencyTypes: ["core"], path: "^(node:)?(fs|net|http|https|tls|child_process|dns|dgram)" },
    },
    {
      name: "the product needs neither its tests nor the stand-in",
      severity: "error",
      from: { path: PRODUCT },
      to: { path: "^(test|sim|bench)/" },
    },
    ...Object.entries(FRONTS).map(([folder, fronts]) => ({
      name: `${folder} is entered by ${fronts.join(", ")}`,
      severity: "error",
      from: { path: PRODUCT, pathNot: place(folder) },
      to: { path: `^${folder}/`, pathNot: fronts.map((front) => `^${folder}/${front}\\.ts$`).join("|") },
    })),
  ],
  options: {
    parser: "swc",
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^test/fixtures" },
    enhancedResolveOptions: {
      extensions: [".ts", ".js"],
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "types"],
    },
  },
};
