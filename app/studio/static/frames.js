// The pictures of a card. A frame has its shape before there is a picture and keeps it, so nothing jumps when one comes.

const PRESETS = {
  square_hd: [1, 1], square: [1, 1], portrait_4_3: [3, 4], portrait_16_9: [9, 16], landscape_4_3: [4, 3], landscape_16_9: [16, 9],
};
const AGAIN = [1500, 4000, 10_000];

/** The address that works as long as one is signed in; the signed ones end after an hour. */
export const pictureAddress = (id, variant) => `/api/v1/assets/${id}/content${variant ? `?variant=${variant}` : ''}`;

export function showFrames(box, view, looks) {
  const pictures = view.assets;
  const wanted = pictures.length || Math.min(8, Math.max(1, Number(view.input.num_images) || 1));
  while (box.children.length > wanted) box.lastElementChild.remove();
  while (box.children.length < wanted) box.append(newFrame(shapeOf(view, pictures[box.children.length])));
  box.classList.toggle('several', wanted > 1);
  pictures.forEach((picture, i) => develop(box.children[i], picture, looks[picture.id], view));
}

function newFrame([width, height]) {
  const frame = document.createElement('div');
  frame.className = 'frame';
  frame.style.aspectRatio = `${width} / ${height}`;
  return frame;
}

/** As the picture is; before there is one, as it was asked for. */
function shapeOf({ input }, picture) {
  if (picture) return within(picture.width, picture.height);
  const size = input.image_size;
  if (size?.width > 0 && size?.height > 0) return within(size.width, size.height);
  const ratio = /^(\d+):(\d+)$/.exec(input.aspect_ratio ?? '');
  if (ratio) return within(Number(ratio[1]), Number(ratio[2]));
  return PRESETS[size] ?? [4, 3];
}

/** Neither a tower nor a thread: beyond that the picture stands inside its frame. */
const within = (width, height) => {
  const ratio = Math.min(2.4, Math.max(0.6, width / height));
  return ratio === width / height ? [width, height] : [ratio, 1];
};

function develop(frame, picture, look, view) {
  if (frame.dataset.asset === picture.id) return;
  frame.dataset.asset = picture.id;
  if (look) {
    frame.style.backgroundColor = look.colour;
    frame.style.backgroundImage = `url("${look.placeholder}")`;
  }
  if (!picture.url) {
    frame.replaceChildren(Object.assign(document.createElement('p'), { textContent: 'This picture was deleted.' }));
    return;
  }
  const image = document.createElement('img');
  image.alt = view.input.prompt || `Picture made by ${view.model}`;
  image.width = picture.width;
  image.height = picture.height;
  image.decoding = 'async';
  let failures = 0;
  image.onload = () => frame.classList.add('shown');
  image.onerror = () => {
    if (failures >= AGAIN.length) frame.classList.add('missing');
    else setTimeout(() => { image.src = pictureAddress(picture.id, 'thumb'); }, AGAIN[failures]);
    failures += 1;
  };
  image.src = pictureAddress(picture.id, 'thumb');
  const link = document.createElement('a');
  link.href = pictureAddress(picture.id);
  link.target = '_blank';
  link.rel = 'noopener';
  link.append(image);
  frame.replaceChildren(link);
}
