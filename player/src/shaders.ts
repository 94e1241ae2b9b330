// The two shaders: a triangle over the whole view, and for each pixel the place in the picture that its ray points at. No
// sphere mesh, hence no seam and no poles. The sums are projection.ts's; a change to one is a change to both.

/**
 * The ray is taken at the far plane, where it is linear across the view for any projection matrix, also a headset's lopsided
 * ones. `projectionMatrix` and `viewMatrix` are each eye's own in a headset.
 */
export const vertexShader = /* glsl */ `
in vec3 position;
uniform mat4 projectionMatrix;
uniform mat4 viewMatrix;
out vec3 ray;

void main() {
  vec4 far = inverse(projectionMatrix) * vec4(position.xy, 1.0, 1.0);
  ray = transpose(mat3(viewMatrix)) * (far.xyz / far.w);
  gl_Position = vec4(position.xy, 0.0, 1.0);
}
`;

export const fragmentShader = /* glsl */ `
precision highp float;

#define PI 3.141592653589793

uniform sampler2D picture;
uniform int projection;
/** x, y, width, height of this eye's part, from the top left. */
uniform vec4 eye;
/** Width by height of this eye's part. */
uniform float aspect;
in vec3 ray;
out vec4 colour;

/** One face of 3 × 2, kept half a texel inside so that the filter takes nothing from the face beside it. */
vec2 onFace(int face, vec2 st, vec2 texel) {
  vec2 cells = vec2(3.0, 2.0);
  vec2 inset = texel * cells * 0.5;
  vec2 place = clamp(0.5 + st * 0.5, inset, 1.0 - inset);
  return (vec2(float(face % 3), float(face / 3)) + place) / cells;
}

vec2 cube(vec3 d, vec2 texel) {
  vec3 a = abs(d);
  if (a.x >= a.y && a.x >= a.z) {
    return onFace(d.x > 0.0 ? 0 : 1, vec2(d.x > 0.0 ? d.z : -d.z, -d.y) / a.x, texel);
  }
  if (a.y >= a.z) {
    return onFace(d.y > 0.0 ? 2 : 3, vec2(d.x, d.y > 0.0 ? -d.z : d.z) / a.y, texel);
  }
  return onFace(d.z < 0.0 ? 4 : 5, vec2(d.z < 0.0 ? d.x : -d.x, -d.y) / a.z, texel);
}

vec2 fisheyes(vec3 d) {
  bool front = d.z <= 0.0;
  float len = length(d.xy);
  float radius = acos(min(1.0, abs(d.z))) / (PI * 0.5);
  vec2 st = len == 0.0 ? vec2(0.0) : vec2(front ? d.x : -d.x, -d.y) / len * radius;
  return vec2((front ? 0.5 : 0.0) + 0.25 + st.x * 0.25, 0.5 + st.y * 0.5);
}

void main() {
  vec3 d = normalize(ray);
  vec2 texel = 1.0 / (vec2(textureSize(picture, 0)) * eye.zw);
  float longitude = atan(d.x, -d.z);
  float latitude = asin(clamp(d.y, -1.0, 1.0));
  vec2 uv = vec2(0.0);
  bool nothing = false;

  if (projection == 0) {
    uv = vec2(0.5 + longitude / (2.0 * PI), 0.5 - latitude / PI);
  } else if (projection == 1) {
    uv = vec2(0.5 + longitude / PI, 0.5 - latitude / PI);
    nothing = d.z > 0.0;
  } else if (projection == 2) {
    uv = cube(d, texel);
  } else if (projection == 3) {
    uv = fisheyes(d);
  } else {
    nothing = d.z >= 0.0;
    vec2 at = d.xy / max(-d.z, 1e-6) * 0.5;
    uv = vec2(0.5 + at.x, 0.5 - at.y * aspect);
    nothing = nothing || any(lessThan(uv, vec2(0.0))) || any(greaterThan(uv, vec2(1.0)));
  }

  // Only a whole mono picture may wrap around its sides (the texture repeats there); anything else stays inside its part.
  vec2 low = texel * 0.5;
  bool wraps = projection == 0 && eye.z == 1.0;
  uv = vec2(wraps ? uv.x : clamp(uv.x, low.x, 1.0 - low.x), clamp(uv.y, low.y, 1.0 - low.y));
  vec2 whole = eye.xy + uv * eye.zw;
  // Explicit level: derivatives jump where the picture wraps, and a mip level chosen by them would draw a seam.
  vec3 texture0 = textureLod(picture, whole, 0.0).rgb;
  // The browser has made R'G'B' of it, and the screen wants just that: no conversion on the way.
  colour = vec4(nothing ? vec3(0.0) : texture0, 1.0);
}
`;
