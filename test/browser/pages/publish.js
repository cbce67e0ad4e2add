// The stock publisher with Chromium's test camera and microphone:
// /publish.html?url=http://host:port/&name=stream/local/camera
import "@moq/publish/element";

const query = new URLSearchParams(location.search);
const publisher = document.createElement("moq-publish");
publisher.setAttribute("url", query.get("url"));
publisher.setAttribute("name", query.get("name"));
publisher.setAttribute("source", "camera");
publisher.append(Object.assign(document.createElement("video"), { muted: true, autoplay: true }));
document.body.append(publisher);

window.sample = () => ({
  status: publisher.connection.status.peek(),
  video: publisher.broadcast.video.source.peek() !== undefined,
  audio: publisher.broadcast.audio.source.peek() !== undefined,
});
