// What is known of a job in a few words: its first event, and the line below its card.

import { count, shortened } from './words.js';

/** What is known of a job when only its first event has come. */
export const stub = (event) => ({
  id: event.job,
  status: 'queued',
  model: event.data.model,
  retry_of: event.data.retry_of,
  input: {},
  assets: [],
  reference_images: [],
  attempt: 0,
  max_attempts: 1,
  credits: { held: 0, posted: 0 },
  metadata: {},
  created_at: event.time,
  finished_at: null,
  seq: event.seq,
});

/** The small print of a card. */
export function facts(view, legal) {
  const said = [view.model.replace(/^fal-ai\//, '')];
  if (view.attempt > 1) said.push(`attempt ${view.attempt} of ${view.max_attempts}`);
  if (!legal.final) said.push(`${count(view.credits.held, 'credit')} held`);
  else said.push(view.status === 'completed' ? `${count(view.credits.posted, 'credit')} paid` : 'nothing charged');
  if (view.reference_images.length) said.push(count(view.reference_images.length, 'reference'));
  if (view.seed) said.push(`seed ${view.seed}`);
  if (view.retry_of) said.push('made again');
  for (const [name, value] of Object.entries(view.metadata)) said.push(shortened(`${name}: ${value}`, 80));
  return said;
}
