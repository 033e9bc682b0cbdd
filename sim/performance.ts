/** A machine with one GPU, in MB: memory in use without a model, and by each model. */
const HOST = { total: 65_536, idle: 4096, model: 1024 };
const GPU = { total: 24_576, idle: 512, model: 6144 };

const EVERY_MS = 5000;
/** Kept by llama-swap: an hour. */
const MOST = 720;

/** llama-swap's measuring of its machine, worked out from how many models were loaded when. */
export class Monitor {
  readonly #now: () => number;
  readonly #begun: number;
  readonly #changes: { at: number; loaded: number }[] = [];

  /** @param now Unix milliseconds */
  constructor(now: () => number) {
    this.#now = now;
    this.#begun = now();
  }

  /** @param loaded how many models have a process from now on */
  note(loaded: number): void {
    this.#changes.push({ at: this.#now(), loaded });
  }

  /** The answer of `/api/performance`. @param after Unix milliseconds */
  since(after: number): unknown {
    const count = Math.floor((this.#now() - this.#begun) / EVERY_MS) + 1;
    const times = Array.from({ length: count }, (_, tick) => this.#begun + tick * EVERY_MS).slice(-MOST);
    const told = times.filter((at) => at > after);
    return {
      enabled: true,
      gpu_stats: told.map((at) => this.#gpu(at)),
      sys_stats: told.map((at) => this.#host(at)),
    };
  }

  #loadedAt(at: number): number {
    return this.#changes.findLast((change) => change.at <= at)?.loaded ?? 0;
  }

  #gpu(at: number): unknown {
    const loaded = this.#loadedAt(at);
    return {
      timestamp: new Date(at).toISOString(),
      id: 0,
      name: "Stand-in GPU",
      uuid: "GPU-00000000",
      temp_c: 40,
      vram_temp_c: 0,
      gpu_util_pct: loaded === 0 ? 0 : 50,
      mem_util_pct: 0,
      mem_used_mb: Math.min(GPU.total, GPU.idle + loaded * GPU.model),
      mem_total_mb: GPU.total,
      fan_speed_pct: 30,
      power_draw_w: 60,
    };
  }

  #host(at: number): unknown {
    const used = HOST.idle + this.#loadedAt(at) * HOST.model;
    return {
      timestamp: new Date(at).toISOString(),
      cpu_util_per_core: [12.5, 7.5],
      mem_total_mb: HOST.total,
      mem_used_mb: used,
      mem_free_mb: HOST.total - used,
      swap_total_mb: 0,
      swap_used_mb: 0,
      load_avg_1: 0.5,
      load_avg_5: 0.5,
      load_avg_15: 0.5,
      net_io: [],
    };
  }
}
