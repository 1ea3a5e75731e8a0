import type { Destination } from './destination.ts'
import { jetstreamDestination } from './destinations/jetstream.ts'
import { kafkaDestination } from './destinations/kafka.ts'
import { redisDestination } from './destinations/redis.ts'

/** Every broker that there is a sink for. */
export const destinations: readonly Destination[] = [kafkaDestination, jetstreamDestination, redisDestination]
