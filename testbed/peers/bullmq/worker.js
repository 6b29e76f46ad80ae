// A worker that stays up: it writes the result of an echo to a file, as an agent-runner worker does, and returns it.
// node worker.js <redis port> <jobs at once> <folder>
const { writeFile, rename } = require('node:fs/promises');
const { Worker } = require('bullmq');

const [redisPort, concurrency, folder] = process.argv.slice(2);

const worker = new Worker(
  'echo',
  async (job) => {
    const result = JSON.stringify({ job_id: job.id, payload: job.data.payload });
    const file = `${folder}/${job.id}.json`;
    await writeFile(`${file}.part`, result);
    await rename(`${file}.part`, file);
    return result;
  },
  { connection: { host: '127.0.0.1', port: Number(redisPort) }, concurrency: Number(concurrency) },
);
worker.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
