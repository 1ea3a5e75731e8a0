export * from './server.ts'
export { startServer } from './start-server.ts'
export { type Servers, startServers } from './start-servers.ts'
export { type TcpProxy, tcpProxy } from './tcp-proxy.ts'
