import { reader } from './reader.ts'
import { type KafkaRequest, kafkaRequest } from './request.ts'
import { writer } from './writer.ts'

/** ConsumerGroupDescribe 0, of brokers that know the consumer groups of KIP-848. */
export const consumerGroupDescribe = { apiKey: 69, apiVersion: 0 } as const

/** What a broker replied about a group. */
export interface ConsumerGroupState {
  /** 0, or the error's code: 69 if it is no group of that kind. */
  readonly errorCode: number
  /** Such as `Empty` or `Stable`. */
  readonly state: string
}

/** Asks for the state of a consumer group of KIP-848. Its coordinator has to be asked. */
export function consumerGroupStateRequest(group: string): KafkaRequest<ConsumerGroupState> {
  const body = writer()
    .noTags()
    .compactLength(1)
    .compactString(group)
    .int8(0) // include_authorized_operations
    .noTags()
    .done()
  return kafkaRequest('ConsumerGroupDescribe', consumerGroupDescribe, body, decode)
}

/** Only what stands before the members. */
function decode(reply: Buffer): ConsumerGroupState {
  const from = reader(reply)
  from.tags()
  from.int32() // throttle_time_ms
  from.uvarint() // one group, plus one
  const errorCode = from.int16()
  from.compactString() // error_message
  from.compactString() // group_id
  return { errorCode, state: from.compactString() ?? '' }
}
