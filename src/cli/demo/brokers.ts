import type { Broker } from './broker.ts'
import { kafkaBroker } from './brokers/kafka.ts'
import { redisBroker } from './brokers/redis.ts'

/** Every broker that there is an adapter for. */
export const brokers: readonly Broker[] = [kafkaBroker, redisBroker]
