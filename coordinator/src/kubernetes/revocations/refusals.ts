import { kubernetesSource } from '../../apply/revocations.ts';
import type { RefusedQuestion, Revocations } from '../../revocation/index.ts';

/** What an object refused and has not been told at the API server. */
export interface Untold {
  times: number;
  /** Of the last one. */
  message: string;
}

/** Refusals of a cluster's objects, by the object's name, until they are told. */
export class UntoldRefusals {
  readonly #untold = new Map<string, Untold>();
  readonly #unsubscribe: () => void;

  /** @param refused called after each, with the object's name. */
  constructor(cluster: string, revocations: Pick<Revocations, 'onRefusal' | 'get'>, refused: (object: string) => void) {
    this.#unsubscribe = revocations.onRefusal((question) => {
      const { object } = question.match;
      if (question.cluster !== cluster || revocations.get(cluster, object)?.source !== kubernetesSource) return;
      this.#untold.set(object, { times: this.of(object).times + 1, message: messageOf(question) });
      refused(object);
    });
  }

  stop(): void {
    this.#unsubscribe();
  }

  of(object: string): Untold {
    return this.#untold.get(object) ?? { times: 0, message: '' };
  }

  /** The object is gone. */
  forget(object: string): void {
    this.#untold.delete(object);
  }

  /** Those that came meanwhile stay. */
  told(object: string, times: number): void {
    const { times: all, message } = this.of(object);
    if (all > times) this.#untold.set(object, { times: all - times, message });
    else this.#untold.delete(object);
  }
}

function messageOf({ match, applicant }: RefusedQuestion): string {
  const what = applicant?.certificate || 'a certificate';
  const whose = applicant?.node ? ` of node ${applicant.node}` : '';
  return `refused to issue ${what}${whose}, by entry ${match.entry + 1} (${match.kind} ${match.value})`;
}
