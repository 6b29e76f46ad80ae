// What somebody writes who offers BullMQ over HTTP: POST /jobs adds a job and answers 201 when Redis has it.
// node front.js <redis port> <http port>
const http = require('node:http');
const { Queue } = require('bullmq');

const [redisPort, port] = process.argv.slice(2).map(Number);
const queue = new Queue('echo', { connection: { host: '127.0.0.1', port: redisPort } });
queue.on('error', (error) => {
  console.error(error);
  process.exit(1);
});

http
  .createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', async () => {
      const job = await queue.add('echo', JSON.parse(Buffer.concat(pieces).toString() || '{}'));
      const body = JSON.stringify({ job_id: job.id });
      response.writeHead(201, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
      response.end(body);
    });
  })
  .listen(port, '127.0.0.1');
