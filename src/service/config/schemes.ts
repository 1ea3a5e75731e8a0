import type { Scheme } from './scheme.ts'
import { kafka } from './schemes/kafka.ts'
import { mysql } from './schemes/mysql.ts'
import { nats } from './schemes/nats.ts'
import { redis } from './schemes/redis.ts'
import { sqlite } from './schemes/sqlite.ts'

/** Every kind of URL that can be opened. */
export const schemes: readonly Scheme[] = [kafka, mysql, nats, redis, sqlite]
