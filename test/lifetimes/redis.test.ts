import { Redis } from 'ioredis'
import { redisFailFast, redisPublisher } from '../../src/adapters/redis/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { redisSubjects } from '../subjects/redis.ts'
import { lifetimes } from './lifetimes.ts'

await lifetimes({
  server: 'redis',
  subjectsOn: redisSubjects,
  publishersOn: (_, { host, port, faults }) => ({
    redisPublisher: async () => ({
      ...faults,
      to: redisPublisher(new Redis({ host, port, ...redisFailFast }), { key: fresh('published') }),
    }),
  }),
})
