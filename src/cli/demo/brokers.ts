import type { Broker } from './broker.ts'
import { jetstreamBroker } from './brokers/jetstream.ts'
import { kafkaBroker } from './brokers/kafka.ts'
import { redisBroker } from './brokers/redis.ts'

/** Every broker that there is an adapter for. */
export const brokers: readonly Broker[] = [kafkaBroker, jetstreamBroker, redisBroker]
