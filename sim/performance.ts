/** A machine with one GPU, in MB: memory in use without a model, and by each model in the host. */
const HOST = { total: 128_577, idle: 4096, model: 1024 };
export const GPU = { name: "NVIDIA RTX PRO 6000", total: 97_887, idle: 512 };

/** Used of the GPU while models take this much, in MB. */
function usedBy(gpuMb: number): number {
  return Math.min(GPU.total, GPU.idle + gpuMb);
}

const EVERY_MS = 5000;
/** Kept by llama-swap: an hour. */
const MOST = 720;

/** llama-swap's measuring of its machine, worked out from how many models were loaded when. */
export class Monitor {
  readonly #now: () => number;
  readonly #begun: number;
  readonly #followers: ((usedMb: number) => void)[] = [];
  readonly #changes: { at: number; models: number; gpuMb: number }[] = [];

  /** @param now Unix milliseconds */
  constructor(now: () => number) {
    this.#now = now;
    this.#begun = now();
  }

  /** @param gpuMb what each model that has a process from now on takes of the GPU's memory */
  note(gpuMb: readonly number[]): void {
    const total = gpuMb.reduce((sum, one) => sum + one, 0);
    this.#changes.push({ at: this.#now(), models: gpuMb.length, gpuMb: total });
    for (const follower of this.#followers) follower(usedBy(total));
  }

  /** Calls `follower` with the GPU's used memory in MB, now and whenever it changes. */
  follow(follower: (usedMb: number) => void): void {
    this.#followers.push(follower);
    follower(usedBy(this.#loadedAt(this.#now()).gpuMb));
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

  #loadedAt(at: number): { models: number; gpuMb: number } {
    return this.#changes.findLast((change) => change.at <= at) ?? { models: 0, gpuMb: 0 };
  }

  #gpu(at: number): unknown {
    const { models, gpuMb } = this.#loadedAt(at);
    return {
      timestamp: new Date(at).toISOString(),
      id: 0,
      name: GPU.name,
      uuid: "GPU-00000000",
      temp_c: 40,
      vram_temp_c: 0,
      gpu_util_pct: models === 0 ? 0 : 50,
      mem_util_pct: 0,
      mem_used_mb: usedBy(gpuMb),
      mem_total_mb: GPU.total,
      fan_speed_pct: 30,
      power_draw_w: 60,
    };
  }

  #host(at: number): unknown {
    const used = HOST.idle + this.#loadedAt(at).models * HOST.model;
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
