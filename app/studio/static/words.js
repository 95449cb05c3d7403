// What states and events are called in plain words, and how times and numbers are said.

const STATUSES = {
  queued: 'Waiting to be sent',
  submitting: 'Being sent to fal',
  submitted: 'In line at fal',
  running: 'Being made',
  storing: 'Made; being stored',
  completed: 'Done',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

/** What fal turned away at the gate, or never heard of, was no attempt that counts. */
export const cameToNothing = ({ attempt, code, detail }) => (/^(not-accepted|unsent)/.test(code)
  ? `fal did not take it: ${ended(detail || code)}` : `Attempt ${attempt} came to nothing: ${ended(detail || code)}`);

const ended = (words) => (/[.!?]$/.test(words) ? words : `${words}.`);

export const statusWords = (status) => STATUSES[status] ?? status;

const EVENTS = {
  'job.queued': (d) => (d.retry_of ? `Accepted once more, for ${d.model}` : `Accepted, for ${d.model}`),
  'job.submitting': (d) => `Being sent to fal, attempt ${d.attempt}`,
  'job.submitted': (d) => `fal has it, attempt ${d.attempt}`,
  'job.started': () => 'fal is working on it',
  'job.progress': (d) => (d.log ? `fal says: ${d.log.replace(/[\u2580-\u259f|]+/g, ' ').replace(/ +/g, ' ').trim()}` : progressWords(d) || 'Going on'),
  'job.retrying': (d) => `${cameToNothing(d)} Trying again at ${clock(d.next_at)}`,
  'job.generated': (d) => `fal has made ${count(d.files, 'file')}; being stored`,
  'job.completed': (d) => `Done: ${count(d.assets?.length ?? 0, 'picture')}`,
  'job.failed': (d) => unmarked(`Failed: ${d.detail || d.code}`),
  'job.cancelled': (d) => ({ asked: 'Cancelled', deadline: 'Cancelled: it took too long' }[d.reason] ?? 'Cancelled with its run'),
  'credits.held': (d) => `${count(d.amount, 'credit')} set aside`,
  'credits.posted': (d) => `${count(d.amount, 'credit')} paid${d.returned ? `, ${d.returned} returned` : ''}`,
  'credits.voided': (d) => `${count(d.amount, 'credit')} given back`,
  'credits.granted': (d) => `${count(d.amount, 'credit')} granted: ${d.reason}`,
  'run.created': (d) => `Run begun: ${d.name}, ${count(d.total, 'job')}`,
  'run.progress': (d) => `${d.done} of ${d.total} jobs have ended`,
  'run.paused': () => 'Run paused',
  'run.resumed': () => 'Run goes on',
  'run.completed': (d) => `Run ended: ${d.completed} done, ${d.failed} failed, ${d.cancelled} cancelled`,
  'run.failed': (d) => `Run failed: ${d.detail || d.code}`,
  'run.cancelled': () => 'Run cancelled',
  notice: (d) => d.title,
};

/** One line for a person. An event we know nothing of is called by its own name. */
export const eventWords = (event) => EVENTS[event.type]?.(event.data) ?? event.type;

export function progressWords({ percent, queue_position: place, eta_seconds: eta, estimated }) {
  if (place != null) return place > 0 ? `Number ${place + 1} in fal's line` : "Next in fal's line";
  if (percent == null) return '';
  if (estimated && percent >= 95) return 'Taking longer than usual';
  const rest = eta == null ? '' : `, ${duration(eta)} to go`;
  return `${percent} %${rest}${estimated ? ' (estimate)' : ''}`;
}

/** The service marks names with backticks, which are for programs' people. */
export const unmarked = (words) => words.replaceAll('`', '');

export const count = (n, thing) => `${n} ${thing}${n === 1 ? '' : 's'}`;

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);
