import type { JetStreamConnection } from './nats-connection.ts'

/** JetStream's code for a message that is not there. */
const NO_MESSAGE = 10037

/** The sequence of the first message from `seq` on that is of one of `subjects`, by what the stream itself says; undefined if there is none. */
export async function nextMessage(
  connection: JetStreamConnection,
  { stream, subjects = ['>'] }: { readonly stream: string; readonly subjects: readonly string[] | undefined },
  seq: bigint,
): Promise<bigint | undefined> {
  let earliest: bigint | undefined
  for (const next_by_subj of subjects) {
    const found = await connection.api<{ message: { seq: bigint } } | undefined>(
      `STREAM.MSG.GET.${stream}`,
      { seq, next_by_subj },
      { unless: [NO_MESSAGE] },
    )
    if (found !== undefined && (earliest === undefined || found.message.seq < earliest)) earliest = found.message.seq
  }
  return earliest
}
