/** The names of keys, flags and variables that hold a secret, and their harmless values. */

/** Only this many last characters of a name count: a longer word is no name, and must not cost time. */
const MAX_NAME_LENGTH = 64;

/** Every such name contains one of these: a quick first test. */
export const SUSPICIOUS = /key|token|pass|pwd|secret|cred|auth|bearer|cookie|hft|_PAT/i;

/** Variables such as `TAVILY_KEY` and `GITHUB_PAT`, and keys that are not secret. */
const VENDOR = /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*_(KEYS?|PAT)(_?\d+)?$/;
const OPEN_KEY = /(^|_)(CACHE|FOREIGN|HOST|HOT|PARTITION|PRIMARY|PUBLIC|SORT|SSL|TLS)_KEYS?/;

/** Long ones also count at the end of a word, as in `PGPASSWORD`. */
const STRONG =
  /(password|passwd|passphrase|passcode|apikey|apitoken|^(secret|credential|authori[sz]ation|bearer|cookie))s?$/;
const KEY =
  /^(api|access|account|admin|auth|encryption|license|master|private|secret|service|shared|signing|storage)keys?$/;
const TOKENS =
  /^(access|api|auth|bearer|csrf|deploy|gh|github|gitlab|hf|id|personal|refresh|secret|session|user)tokens?$/;
const AUTH = /^(basic|http|proxy)auth$/;

/** Last words of names whose value only describes a secret: its file, its length. */
const ABOUT = new Set(
  (
    "file files fname filename path paths dir folder name names id ids type url uri header headers count limit len " +
    "length size max min rate ttl budget policy required enabled prefix field env var ref check expiry expires " +
    "timeout mode provider location store manager endpoint"
  ).split(" "),
);

/** Words before `token` that make it a piece of text, as in a model's metadata. */
const MODEL_TOKENS = new Set(
  (
    "add audio begin bos cls current each end eog eom eos eot eou every fim first generated image input last lf " +
    "mask max mid min n next nl num output pad per pre predicted prefix prev previous prompt rep sampled sep single " +
    "special start stop suf suffix system think tool unk video vision word"
  ).split(" "),
);

/** The words of a name in lower case, in any spelling, without a number at its end. */
function partsOf(name: string): string[] {
  const words = name
    .slice(-MAX_NAME_LENGTH)
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
  while (/^\d+$/.test(words.at(-1) ?? "")) words.pop();
  const last = words.pop();
  return last === undefined ? [] : [...words, last.replace(/\d+$/, "")];
}

function isTokenName(parts: readonly string[]): boolean {
  const last = parts.at(-1) ?? "";
  const before = parts.at(-2) ?? "";
  return last === "token" ? !MODEL_TOKENS.has(before) : TOKENS.test(last) || TOKENS.test(before + last);
}

/**
 * Whether a key, flag or variable of this name holds a secret: `apiKeys`, `--api-key`, `HF_TOKEN`, `db-password`.
 * Names of files and figures (`--api-key-file`, `max_tokens`, `eos_token`, `--token-rate`) do not.
 *
 * @param name in any spelling: camel, snake, kebab or upper case, with or without dashes before it
 */
export function isSecretName(name: string): boolean {
  if (!SUSPICIOUS.test(name.slice(-MAX_NAME_LENGTH))) return false;
  if (/^-?hft$/.test(name) || (name.length <= MAX_NAME_LENGTH && VENDOR.test(name) && !OPEN_KEY.test(name)))
    return true;
  const parts = partsOf(name);
  const last = parts.at(-1) ?? "";
  if (ABOUT.has(last)) return false;
  if (isTokenName(parts)) return true;
  if (parts.length > 1 && (last === "pass" || last === "pwd")) return parts.at(-2) !== "old";
  return parts.some((part, at) => {
    const before = parts[at - 1] ?? "";
    // `--cors-credentials` is a switch.
    if (STRONG.test(part)) return before !== "cors" && before !== "allow";
    return KEY.test(part) || KEY.test(before + part) || AUTH.test(before + part);
  });
}

/** Whether the word before a lone `token` makes it a piece of text, as in `EOS token = 2`. */
export function isModelToken(wordBefore: string): boolean {
  return MODEL_TOKENS.has(wordBefore.toLowerCase());
}

/** Whether a URL parameter holds a secret; there `key` and `sig` do. */
export function isSecretParameter(name: string): boolean {
  return isSecretName(name) || /^(key|sig|signature|x-amz-(signature|credential))$/i.test(name);
}

/** Whether a macro of this name holds a secret; there `key` does, unless it names a file. */
export function isSecretMacro(name: string): boolean {
  return isSecretName(name) || (/keys?$/i.test(name) && !/(ssl|tls|cache).?keys?$/i.test(name));
}

/** Whether a value is harmless: a switch, empty, or a number if the name allows one. */
export function isPlainValue(value: string, name: string): boolean {
  if (/^(true|false|on|off|yes|no|null|none|~|)$/i.test(value)) return true;
  // `token` allows one, `password` does not.
  return value.length <= 12 && /^[+-]?\d[\d_.,]*$/.test(value) && isTokenName(partsOf(name));
}

/** Words of one command, also over continued lines. */
const WORDS = String.raw`(?!\S)(?:(?!\s[;&|]|;\s)(?:[^\n\\]|\\[\s\S]))*$`;
const SSHPASS = /(^|[\s"'/])sshpass(\s+-[a-oq-zP]\S*(\s+[^-\s]\S*)?)*\s+$/;
const LOGIN = new RegExp(String.raw`(^|[\s"'/])(docker|podman|nerdctl)\s+login${WORDS}`);
const CURL = new RegExp(String.raw`(^|[\s"'/;&|(])curl${WORDS}`);

/**
 * Whether a flag takes a password because of its program: `curl -u user:password`, `docker login -p`, `sshpass -p`.
 *
 * @param lead the command before the flag
 * @returns the length of the flag; its value may follow directly, as in `-psecret`
 */
export function programFlag(flag: string, lead: string): { length: number; isUser: boolean } | undefined {
  if (flag.startsWith("-p"))
    return SSHPASS.test(lead) || LOGIN.test(lead) ? { length: 2, isUser: false } : undefined;
  const ofCurl = /^(-[uU]|--(proxy-)?user$)/.exec(flag)?.[0];
  return ofCurl !== undefined && CURL.test(lead) ? { length: ofCurl.length, isUser: true } : undefined;
}
