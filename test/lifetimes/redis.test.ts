import { redisSubjects } from '../subjects/redis.ts'
import { lifetimes } from './lifetimes.ts'

await lifetimes({ server: 'redis', subjectsOn: redisSubjects })
